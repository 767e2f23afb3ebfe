package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/valueledger/wallet/internal/service/postgres"
	"github.com/valueledger/wallet/internal/test/testenv"
)

func TestTransportRiskIsNamed(t *testing.T) {
	ca := testenv.NewAuthority(t, t.TempDir(), "authority").CA
	for parameters, risk := range map[string]string{
		"host=db":                 "it may be unencrypted", // sslmode=prefer
		"host=db sslmode=disable": "it may be unencrypted",
		"host=db sslmode=require": "it is encrypted, but the server is not verified",
		"host=db sslmode=verify-ca sslrootcert=" + ca:   "",
		"host=db sslmode=verify-full sslrootcert=" + ca: "",
		"host=localhost":       "",
		"host=127.0.0.1":       "",
		"host=::1":             "",
		"host=/run/postgresql": "",
		"host=localhost,db":    "it may be unencrypted",
		"host=10.0.0.1":        "it may be unencrypted",
	} {
		config, err := pgx.ParseConfig("user=wallet_app " + parameters)
		require.NoError(t, err)
		require.Equal(t, risk, postgres.TransportRisk(config), parameters)
	}
}
