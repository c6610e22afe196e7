"""What a method is, and the policies that it serves."""
