"""`python -m pipeline.video` is `dferc-video`."""

from pipeline.video.command import main

if __name__ == "__main__":
    main()
