"""What a step is corrected with: colour and consistency."""
