// Package posting holds the rules by which merged events become ERP documents:
// under which key, and on which day. It promises that equal facts give equal keys
// and days, so that a rebuild and a retry name the same document. It is pure; it
// stops at netting, queues and sending, which it does not do.
package posting
