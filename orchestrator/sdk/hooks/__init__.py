"""How do tasks talk to databases, servers, storage and mail, by the id of a Connection?"""
