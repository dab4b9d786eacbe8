"""What buyers look through: search over everybody's listings. Never decides what is true; the store does."""
