package telemetry

var CountHolds = countHolds

const (
	SQLByIndex  = sqlByIndex
	SQLHolds    = sqlHolds
	MostCounted = mostCounted
)
