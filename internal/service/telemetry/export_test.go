package telemetry

var (
	CountHolds = countHolds
	CountRuns  = countRuns
)

const (
	SQLByIndex  = sqlByIndex
	SQLHolds    = sqlHolds
	MostCounted = mostCounted
)
