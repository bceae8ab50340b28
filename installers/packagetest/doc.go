// Package packagetest holds tests of what is given away: the packages, as the tools
// of each platform see and install them. It promises nothing to other code. The
// short ones run with all tests; those behind the build tag dist boot a Debian,
// start Wine and sign, and belong to `make dist-test`.
package packagetest
