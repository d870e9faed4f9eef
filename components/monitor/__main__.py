from components.cli import main

if __name__ == "__main__":
    main("monitor")
