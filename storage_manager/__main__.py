"""`python -m storage_manager`: the command line, as `storage-manager`."""

from storage_manager.cli import main

if __name__ == "__main__":
    main()
