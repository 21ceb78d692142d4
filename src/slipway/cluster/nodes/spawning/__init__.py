"""Starting processes through one small helper process, so that they all end when the cluster does."""
