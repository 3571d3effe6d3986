"""The tests of storage_manager. Each test file is named for the module that it tests."""
