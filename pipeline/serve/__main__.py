"""`python -m pipeline.serve` is `dferc-serve`."""

from pipeline.serve.command import main

if __name__ == "__main__":
    main()
