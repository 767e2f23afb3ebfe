package feed

const SQLEvents = sqlEvents
