"""Run the command line with `python -m storage_manager`, the same as with `storage-manager`."""

from storage_manager.cli import main

if __name__ == "__main__":
    main()
