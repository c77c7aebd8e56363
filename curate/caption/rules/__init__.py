"""Rules that choose among a picture's texts, one file each; the file's name is the rule's name in a config."""
