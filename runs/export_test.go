package runs

// SQLFailures reads a page of failures.
const SQLFailures = sqlFailures
