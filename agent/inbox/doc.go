// Package inbox takes files from tills that know no HTTP: CSV with a mapping,
// and POSLog XML. A file that appears whole in the folder is journaled and then
// moved to done, or to failed with a .reason.json that names line, field and
// remedy.
//
// It promises that a file's documents count once, whenever the agent dies in
// between: their ids are the file's own, so that a second reading is answered
// as a duplicate. Good documents of a partly bad file are journaled. A file is
// never deleted, and never overwritten in done or failed. It stops at the
// journal, watches one folder by looking at it every few seconds, and takes a
// file only when its size and time have stood still between two looks; writers
// should create it as *.tmp and rename it.
package inbox
