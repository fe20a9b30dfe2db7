"""`dferc report`: finished runs as one HTML file that needs no network, reports/<corpus>/index.html.

`page` hands plain data to the template in page/, whose style and scripts are files of their own. Needs `pip install
'dferc[report]'`.
"""
