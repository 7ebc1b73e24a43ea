"""Where the built program starts: the same main as the installed `strongroom` command."""

from cli.main import main

if __name__ == "__main__":
    main()
