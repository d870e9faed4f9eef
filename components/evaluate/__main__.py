from components import start

if __name__ == "__main__":
    start.stage("evaluate")
