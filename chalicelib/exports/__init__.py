"""What an export is: datasets, kinds of export, publication, files, removals."""
