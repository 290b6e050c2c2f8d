"""PeerBridge: therapists, patients, and an assistant between the sessions."""
