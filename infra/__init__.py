"""What Carryout runs on: the embedded stack, the servers, the migrations."""
