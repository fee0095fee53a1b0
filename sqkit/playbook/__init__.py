"""What to do with what the analyses found: today's contact list, and later the week's plan and the brief."""
