"""Small consumers that need no app: one file each. The bus imports every file in this folder."""
