"""What users have without the product: the view saves the order and calls `.delay()` after the commit.

Celery with its own defaults (acknowledged early, no inbox), retries switched on, and the same locks on stock. It shares
the product's tables of orders and stock, so that the same checker can look at it.
"""
