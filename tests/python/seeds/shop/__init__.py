"""A package whose mains import their siblings relatively."""
