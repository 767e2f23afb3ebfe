package service

import "strings"

// hint says what to check if an error contains a certain text. gRPC and Postgres only give
// texts about what happened on the other side of a connection.
type hint struct{ text, remedy string }

var temporalHints = []hint{
	{"unknown authority", "set TEMPORAL_TLS_SERVER_CA_CERT_PATH to the authority of the server's certificate"},
	{"certificate is valid for", "set TEMPORAL_TLS_SERVER_NAME to a name of the server's certificate"},
	{"certificate is not valid for any names", "set TEMPORAL_TLS_SERVER_NAME to a name of the server's certificate"},
	{"doesn't contain any IP SANs", "set TEMPORAL_TLS_SERVER_NAME to a name of the server's certificate"},
	{"remote error: tls:", "set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH to a certificate that the server trusts"},
	{"first record does not look like a TLS handshake", "the server does not use TLS: unset TEMPORAL_TLS and similar settings, or set it to false"},
	{"error reading server preface", "does the server demand TLS? set TEMPORAL_TLS=true, TEMPORAL_TLS_SERVER_CA_CERT_PATH, TEMPORAL_TLS_CLIENT_CERT_PATH or TEMPORAL_API_KEY"},
	{"invalid credentials", "set TEMPORAL_API_KEY to one that is valid for the namespace"},
	{"Unauthenticated", "set TEMPORAL_API_KEY to one that is valid for the namespace"},
	{"", "set TEMPORAL_ADDRESS or a profile; if the server demands TLS, TEMPORAL_TLS=true; if a certificate, TEMPORAL_TLS_CLIENT_CERT_PATH"},
}

var postgresHints = []hint{
	{"unknown authority", "set sslrootcert in the URL to the authority of the server's certificate"},
	{"certificate is valid for", "use a host of the server's certificate in the URL"},
	{"valid client certificate", "set sslcert and sslkey in the URL to a certificate that the server trusts"},
	{"remote error: tls:", "set sslcert and sslkey in the URL to a certificate that the server trusts"},
	{"no encryption", "the server may demand TLS: set sslmode=verify-full and sslrootcert in the URL"},
	{"server refused TLS connection", "the server does not use TLS: use sslmode=disable, or set ssl = on there"},
	{"password authentication failed", "the password is wrong, or the sslcert is not of the role's own name"},
	{"", "is it running?"},
}

func remedy(hints []hint, err error) string {
	for _, h := range hints {
		if strings.Contains(err.Error(), h.text) {
			return h.remedy
		}
	}
	return ""
}
