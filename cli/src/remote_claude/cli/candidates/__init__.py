"""Best of N: several tasks that try the same, judged, compared, and one of them taken."""
