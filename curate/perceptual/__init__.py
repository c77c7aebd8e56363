"""Hashes of decoded pictures that stay nearly the same when a picture is encoded anew or scaled."""
