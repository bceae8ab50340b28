package posting

// KeyLen is the length of a posting key: the shortest reference field among the
// ERPs that we know, SAP's ReferenceDocument, takes 16 upper-case characters.
const KeyLen = 16
