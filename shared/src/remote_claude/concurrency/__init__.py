"""What asyncio lacks: ending tasks for certain."""
