"""`dferc report`: finished runs as one HTML file that needs no network (`pip install '.[report]'`)."""
