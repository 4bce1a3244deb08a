"""Where does attention matter? The paper's ablations."""
