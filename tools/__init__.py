"""What tries the product out and what measures it: `script/chaos`, `script/bench`, and a harness for all, tests too."""
