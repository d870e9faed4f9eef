from components.entry import stage_main

if __name__ == "__main__":
    stage_main("drift")
