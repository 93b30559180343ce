"""What a person sees of Imageferry in Prefect's UI, in a real browser."""
