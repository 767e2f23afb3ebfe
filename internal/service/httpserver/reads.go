package httpserver

func (s *Server) readRoutes() {}
