"""DevMatrix: from a talk about an idea to a masterplan."""
