"""Published encoders of pictures and video: transformers, torchvision, timm."""
