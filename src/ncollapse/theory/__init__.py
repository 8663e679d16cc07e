"""Theory as software: problem → solver → solution with a certificate."""
