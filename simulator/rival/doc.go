// Package rival starts the servers of others that the benchmarks stand beside:
// Redis, PostgreSQL and mosquitto, as their packages install them, on loopback, in
// a folder that the caller gives and removes. It promises to end what it started
// and nothing else, and names the package where a program is missing. How they
// are asked is the benchmark's business, but for pgbench, which asks PostgreSQL.
package rival
