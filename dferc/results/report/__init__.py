"""`dferc report`: finished runs as one HTML file that needs no network, reports/<corpus>/index.html.

`summary`, `figures`, `dialogues` make plain data of finished runs; `page` hands it to the template in page/, whose
style and scripts are files of their own. Needs `pip install 'dferc[report]'`.
"""
