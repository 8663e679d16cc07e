"""Texts: files → documents dealt to splits → token ids packed into sequences."""
