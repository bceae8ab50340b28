// Package trytontest starts a real Tryton 6.0 for tests: a database with a company,
// three stores, parties and articles, made once and copied per test, on a port of
// its own. It is test code that other packages import.
package trytontest
