// Package front stands before net/http on the till's port and takes the one hot
// call, a document POSTed as JSON, by itself.
//
// Promises: what it answers is what the port would have answered, and no sooner;
// whatever it is not sure about (another call, an odd header, a large or refused
// document, a journal that is not well) it hands to net/http with every byte that
// was read, and never touches again. It stops at recognising requests: hosts,
// tokens and documents are judged by the caller.
package front
