mod walls;
