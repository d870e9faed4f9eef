from components.entry import start

if __name__ == "__main__":
    start.stage("generate")
