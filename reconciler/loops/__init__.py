"""The async shell: observes, asks `decide`, acts. Everything it touches is a port."""
