"""The product under trial: servers, a laboratory, processes, customers, and a checker of effects."""
