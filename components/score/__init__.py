"""score stage: IQA metrics of every candidate, and its reward."""
