"""AuditEng: audits what people upload, and talks with them about what it finds."""
